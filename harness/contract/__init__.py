"""The contract of faults, as a test suite: for those who write one, on a running sandbox or any target.

    pytest --pyargs harness.contract                                    # every fault, on the running sandbox
    pytest --pyargs harness.contract --fault kill-mongo --target staging
    pytest --pyargs harness.contract --fault my_faults:StopCamera       # one of yours, found from the current folder

Each fault is tried once (`trial.py`): looked at, undone without an injection, injected, undone, undone again. What was seen is then
held against each promise (`promises.py`). The times it took are written to `reports/contract.json`. It holds the target's lock, its
journals and guard are those of any run, and it plays no load but a few windows, so that there are streams to hit. The only package
that knows pytest.
"""
