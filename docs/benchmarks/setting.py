"""What every benchmark prints first: date, versions, machine and command."""

import datetime
import os
import platform
import shlex
import sys


def print_setting(*libraries):
    """Print the setting of a run, with the versions of the modules given."""
    versions = ", ".join(f"{library.__name__} {library.__version__}" for library in libraries)
    print(f"date      {datetime.date.today()}")
    print(f"versions  Python {platform.python_version()}, {versions}")
    print(f"machine   {_cpu_model()}, {os.cpu_count()} cores")
    print(f"command   {shlex.join(['python', *sys.argv])}", flush=True)


def _cpu_model():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
