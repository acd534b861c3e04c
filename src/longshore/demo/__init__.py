"""`python -m longshore.demo`: a manager, an application, load, and every strategy under that load.

    stage.py     the manager as a process, the application's versions, the client: set up, torn down
    app.py       the application that is deployed (copied into each version; imports nothing of Longshore)
    load.py      the clients: what they send, and what counts as a failure
    wire.py      HTTP as those clients speak it        ledger.py  every request recorded
    scenes.py    what is shown, in order
    view.py      the live view, and plain lines where there is no terminal

The benchmarks build on the same stage, load and ledger. Nothing here imports the server.
"""
