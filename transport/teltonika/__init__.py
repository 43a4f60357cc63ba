"""The Teltonika wire: pure functions and readers between bytes and values.

    crc        the checksum of a frame
    frame      a byte stream cut into frames
    handshake  the first message of a connection, which names the device
    avl        telemetry: codecs 8, 8 Extended and 16 (``layout`` is the shape of one record)
    command    messages: codecs 12, 13, 14 and 15

There is no I/O, no clock and no logging here. All integers on the wire are big-endian. The source of every
protocol fact is the Teltonika Telematics wiki, page "Teltonika Data Sending Protocols", unless a comment
says otherwise.
"""
