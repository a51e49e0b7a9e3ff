"""The load: Locust users who open windows, watch them and close them. Nothing else in the harness knows Locust.

`locustfile.py` (Locust alone) and `python -m harness.load` (the conductor's way, with a `LoadPlan`) end in the same `Session`.
All HTTP and gRPC happens in the engine process; this one, patched by gevent, only decides who asks for a window and when.
Importing `harness.load.plan` imports no Locust.
"""
