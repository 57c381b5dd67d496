"""Jobs, who holds them, and periodic work."""

from __future__ import annotations

from antiphon.domain.limits.sizes import KIB, MIB

# --- who holds what ---------------------------------------------------------------------------------------------------
#: A server whose number has stood still for this long, by the clock of the one that looks, is taken for dead, and its
#: work can be claimed. With two beats in between, that is within 10 seconds of its last one.
LEASE = 6.0
#: Between two beats of a server that shares its database: two may fail before it is taken for dead.
LEASE_RENEWAL = 2.0

# --- jobs -------------------------------------------------------------------------------------------------------------
#: Between two looks for jobs that came without a notice (from other servers, after a crash, at the end of a pause).
CLAIM_TICK = 1.0
#: Free jobs that one look sees, to choose from. Of each project and kind, no more than there is room for.
CLAIM_LOOK = 1_000
#: Between two looks for cancels that were asked for elsewhere.
CANCEL_TICK = 0.25
#: Jobs of one kind that a server runs at once, and those of one project, unless the kind says otherwise. Few: most
#: kinds read files or ask other servers, and share the processor with the calls.
MAX_JOBS_OF_KIND = 16
MAX_JOBS_OF_KIND_AND_PROJECT = 8
#: Jobs of one project that wait. They are counted at each new one, which takes 0.3 ms for so many.
MAX_JOBS_OF_PROJECT = 10_000
#: Attempts of a job that fail before it is given up, unless its kind says otherwise.
MAX_JOB_TRIES = 3
#: How often the server that runs a job may die before the job is given up. It may be the cause.
MAX_JOB_LOSSES = 4
#: From so many on, it is not run beside another such job: the next death then tells which of them is the cause.
SUSPECT_LOSSES = 2
#: Bytes of what it takes to do a job: the largest request (`MAX_BODY`) with its prompt put in.
MAX_JOB_PAYLOAD = 64 * MIB
#: Bytes of a job's result, which is read whole. What is larger has rows, or a file, of its own.
MAX_JOB_RESULT = 1 * MIB
#: Bytes of a note of how far a job has come.
MAX_JOB_PROGRESS = 64 * KIB
#: Characters of what a job's last error says.
MAX_JOB_ERROR = 500
#: Characters of a kind's name and of a key against doing the same twice.
MAX_JOB_KIND = 64
MAX_JOB_KEY = 256
#: The longest single delay of a job.
MAX_JOB_DELAY = 30 * 24 * 3600.0
#: All pauses of a job that it has asked for itself, before it is given up.
MAX_JOB_WAIT = 7 * 24 * 3600.0
#: One attempt. A job that needs longer notes how far it has come and goes on in a further one.
MAX_JOB_SECONDS = 6 * 3600.0
#: Pauses between attempts that failed: the first, and the longest. Each is twice the one before it.
JOB_PAUSE = 1.0
MAX_JOB_PAUSE = 3600.0
#: Pauses are longer by up to this part, so that many jobs do not come back at once.
JOB_JITTER = 0.25
#: How long ended jobs are kept, so that their results can be read, and dead ones, so that they can be looked into.
JOB_TTL = 7 * 24 * 3600
DEAD_JOB_TTL = 30 * 24 * 3600
#: Between two counts of jobs, for `/metrics`.
JOB_COUNT_TICK = 10.0

# --- periodic work ----------------------------------------------------------------------------------------------------
#: Between two sweeps for what has expired.
SWEEP_TICK = 60.0
#: Sweeps come earlier by up to this part of their interval, so that those of several servers do not stay in step.
SWEEP_JITTER = 0.1
#: Things deleted in one step of a sweep.
SWEEP_STEP = 500
#: A clock that was set is believed by sweeps once it has stayed so for this long: what a wrong clock deletes is gone.
CLOCK_DOUBT = 3600.0
#: What a clock may gain or lose between two looks without having been set.
CLOCK_DRIFT = 60.0
#: Between two looks at the database's clock. Meanwhile, a clock that runs one percent wrong is off by 0.1 seconds.
CLOCK_TICK = 10.0
