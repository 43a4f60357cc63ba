"""The wire format of Teltonika: converts between bytes and values, without I/O.

    crc        the checksum of a frame
    frame      cuts a byte stream into frames
    handshake  the first message of a connection, with the IMEI
    avl        telemetry: codecs 8, 8 Extended and 16 (``layout`` describes the shape of one record)
    command    messages: codecs 12, 13, 14 and 15

There is no I/O, no clock and no logging here. All integers on the wire are big-endian. The source of all
protocol facts is the page "Teltonika Data Sending Protocols" of the Teltonika Telematics wiki, unless a
comment names another one.
"""
