"""The streams of all devices: those that have nothing to remember are one object."""

from __future__ import annotations

from .stream import DeviceStream, StreamSettings


class Streams:
    """The streams of the devices of a process.

    Most devices are between frames: to save memory, one stream is enough for all of these that are open, and
    one for those that are not. They only take whole frames. A device of which something has to be remembered
    has a stream of its own.
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

    def opened(self, stream: DeviceStream) -> DeviceStream:
        """`stream` of one device that counts as ready now, as one that may be changed."""
        own = self.own(stream)
        own.open()
        return own

    def shared(self, stream: DeviceStream) -> DeviceStream:
        """`stream` of a device whose deadline is known, or that of all if there is nothing to remember."""
        if not stream.idle:
            return stream
        return self._open if stream.is_open else self._graced
