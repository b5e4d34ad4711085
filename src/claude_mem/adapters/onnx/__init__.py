"""The embedding model that runs on this machine: all-MiniLM-L6-v2 in ONNX Runtime, 384 dimensions, English.

Its official weights are fetched once and checked (`sources`, `install`); the graph that is run is built from them on
this machine (`graph`) and kept in a folder with its hashes (`folder`). The libraries of numbers are loaded with the
model, never before: importing this package costs nothing.
"""
