"""The gRPC contract of a window's stream: the .proto and the code generated from it, nothing else.

`make wire` regenerates it. Field names, numbers and spelling are the production server's.
"""
