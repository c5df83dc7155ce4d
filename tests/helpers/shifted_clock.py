"""A clock that is wrong: a small library for LD_PRELOAD that shifts what a process reads as the time of day.

The server of `forked_process` is started with it, so that a command whose clock is wrong can be forked like any other.
"""

import os
import shutil
import subprocess
from pathlib import Path

LIBRARY = "shifted_clock.so"
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static int (*get_time)(clockid_t, struct timespec *);
static long shift(void) { const char *text = getenv("TEST_CLOCK_SHIFT_S"); return text ? atol(text) : 0; }
int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!get_time) get_time = dlsym(RTLD_NEXT, "clock_gettime");
    int result = get_time(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(now, zone);
    if (!result) now->tv_sec += shift();
    return result;
}
time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}
"""


def preload_clock(folder: Path) -> dict[str, str]:
    """Return the variable for a process whose clock TEST_CLOCK_SHIFT_S shifts; none where there is no C compiler.

    `folder`: has the library, or gets it.
    """
    library = folder / LIBRARY
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not library.exists() and compiler:
        source = folder / "shifted_clock.c"
        source.write_text(_SOURCE, encoding="utf-8")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    if not library.exists():
        return {}
    earlier = os.environ.get("LD_PRELOAD")
    return {"LD_PRELOAD": f"{library}:{earlier}" if earlier else str(library)}
