"""SAM 2: outlines of what a detector has boxed, by GroundingDINO's words or by the embedded networks."""
