"""Positions as files that maps read: GeoJSON (RFC 7946) and GPX 1.1."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from xml.etree import ElementTree as Xml

from fsm.record_data import RecordData


class Position(NamedTuple):
    """Where a device was: epoch ms, degrees, metres, km/h."""

    timestamp: int
    longitude: float
    latitude: float
    altitude: int
    speed: int

    @classmethod
    def of(cls, record: RecordData) -> Position:
        """The position in a record."""
        return cls(int(record.timestamp), record.longitude, record.latitude, record.altitude, record.speed)

    @property
    def time(self) -> str:
        """In RFC 3339; empty if it is no time that a calendar has."""
        try:
            moment = datetime.fromtimestamp(self.timestamp / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return ""
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def geojson(imei: str, positions: Sequence[Position]) -> str:
    """The track as a line, and each position as a point with its time and speed."""
    points = [[one.longitude, one.latitude, one.altitude] for one in positions]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": point},
            "properties": {"imei": imei, "time": one.time, "speed": one.speed},
        }
        for one, point in zip(positions, points, strict=True)
    ]
    if len(points) > 1:  # a line has two positions or more
        line = {"type": "LineString", "coordinates": points}
        features.insert(0, {"type": "Feature", "geometry": line, "properties": {"imei": imei}})
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n"


def gpx(imei: str, positions: Sequence[Position]) -> str:
    """The track as one segment."""
    root = Xml.Element("gpx", version="1.1", creator="telgw", xmlns="http://www.topografix.com/GPX/1/1")
    whole = Xml.SubElement(root, "trk")
    Xml.SubElement(whole, "name").text = imei
    segment = Xml.SubElement(whole, "trkseg")
    for one in positions:
        point = Xml.SubElement(segment, "trkpt", lat=f"{one.latitude:.7f}", lon=f"{one.longitude:.7f}")
        Xml.SubElement(point, "ele").text = str(one.altitude)
        if one.time:
            Xml.SubElement(point, "time").text = one.time
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


WRITERS: dict[str, Callable[[str, Sequence[Position]], str]] = {".geojson": geojson, ".gpx": gpx}
"""By the ending of the file's name."""
