"""The streams of all devices: those that have nothing to remember are one object, or another before `open`."""

from __future__ import annotations

from .stream import DeviceStream, StreamSettings


class Streams:
    """The streams of the devices of a process.

    Most devices are between frames: one stream is enough for all of these that are open, and one for those that
    are not, to save memory. They only take whole frames. A device of which something has to be remembered has a
    stream of its own.
    """

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._open = DeviceStream.between_frames(settings, is_open=True)
        self._graced = DeviceStream.between_frames(settings, is_open=False)

    def begin(self, now: float) -> DeviceStream:
        """That of a connection that was accepted at `now`."""
        return DeviceStream(self._settings, now)

    def own(self, stream: DeviceStream) -> DeviceStream:
        """`stream` of one device as one that may be changed."""
        if stream is self._open or stream is self._graced:
            return DeviceStream.between_frames(self._settings, is_open=stream.is_open)
        return stream

    def shared(self, stream: DeviceStream) -> DeviceStream:
        """`stream` of one device as the one of all, if there is nothing to remember. Enter its deadline first."""
        if not stream.idle:
            return stream
        return self._open if stream.is_open else self._graced
