"""What runs inside a sandbox: a warm Python that makes isolated children, and those children's side of a run.

Nothing here may import the rest of the house: the package travels into the sandbox alone, as one zip,
and runs on whatever Python 3.9 or later the guest has, with the standard library only. cloudpickle, which
is pure Python, travels with it.

    zygote      the first process: forks the keeper and the nursery
    keeper      makes the pid namespaces, and survives the nursery
    watcher     pid 1 of a child where there are no control groups: watches memory
    memory_watch  how that is done; part of the cold path's process 1 as well
    nursery     the warm process: makes one child for every request, and tells how each ended
    isolation   the steps by which a child leaves everything it shares, read from top to bottom
    kernel      the system calls that the standard library lacks
    row         system calls prepared once and made in a row, without Python in between
    hooks       what modules want done around forks and at the end, kept from where nothing can come of it
    job         the child's side: waits for a plan, then runs Python or a list of commands
    script      runs one Python program as `python3 main.py` would
    warmth      what is imported and touched once, so that no child pays for it
    state       restores the variables of a session and saves them, by the four modules below
    variables   all variables in one stream, and back
    pieces      a pickle for each variable, one after the other
    packing     compressed where that pays
    our_cloudpickle  what knows how to pickle functions and classes of a program
    session     the same from a cold start
    figures     not used here: a part of the guest environment, called by its matplotlib
    waiter      the same without a zygote, in a pod: one process that waits and becomes the program
"""
