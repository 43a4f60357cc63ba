"""The streams of all devices: those that have nothing to remember are one object."""

from __future__ import annotations

from .stream import DeviceStream, StreamSettings


class Streams:
    """The streams of the devices of a process.

    Most devices are between frames: one stream is enough for all of these, to save memory. It only takes
    whole frames. A device of which something has to be remembered has one of its own.
    """

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._idle = DeviceStream.between_frames(settings)

    def begin(self, now: float) -> DeviceStream:
        """That of a connection that was accepted at `now`."""
        return DeviceStream(self._settings, now)

    def own(self, stream: DeviceStream) -> DeviceStream:
        """`stream` of one device as one that may be fed."""
        return DeviceStream.between_frames(self._settings) if stream is self._idle else stream

    def shared(self, stream: DeviceStream) -> DeviceStream:
        """`stream` of one device as the one of all, if there is nothing to remember."""
        return self._idle if stream.idle else stream
