"""The processes of a launch: how they start, agree, are told to stop, and notice who died."""
