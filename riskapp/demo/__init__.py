"""`make demo`: the whole product on one machine, from an empty folder to a live dashboard.

settings_env   where the demo keeps its things, decided before Django reads its settings
plan           what is streamed: the simulator's payments or a file's; what is history, what is live
history        the past goes into the ledger, and a first model is trained on it
processes      web, worker, scheduler and redis-server as children: started, watched, stopped
stream         the live part goes to the public HTTP API, with a progress bar
summary        what came out of it
"""
