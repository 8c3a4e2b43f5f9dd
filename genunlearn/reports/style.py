"""Colours of findings in a terminal."""

from __future__ import annotations

from genunlearn.reports.headline import Tone

STYLES = {Tone.GOOD: "green", Tone.WARN: "yellow", Tone.BAD: "red", Tone.NEUTRAL: ""}
