"""The closed loop against its peers: is the planted cause named, the right one, and nothing else.

Worlds of the twin with known causes become tables of vehicles (`cases.py`); ours, the plain scan and what people reach
for first are asked about the same tables (`run.py`) and scored by rules fixed before any result (`scoring.py`). Public
complaints, which have no exposure, are judged by recalls in `complaints.py`. Everything: `--full`; some: `--worlds N`.
"""
