#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Applies each bug of tests/sim/mutants to a copy of src/watchcache, builds the simulator with it, and sees whether the simulator finds it.

run_mutants.py BUILD [NAME...]   BUILD: a release build that holds the simulator's libraries. Writes the table in README.md if all were run.

Only the files that a patch touches are compiled; they come before the build's own archives on the linker's line.
"""
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
EVENTS = 60_000_000  # The rarest (lost_wakeup) needs 45 million, two minutes.


def build(mutant, scratch, build_dir):
    copy = os.path.join(scratch, "src")
    shutil.copytree(os.path.join(REPO, "src/watchcache"), os.path.join(copy, "watchcache"))
    subprocess.run(["patch", "-s", "-p1", "-d", scratch, "-i", mutant], check=True)
    with open(mutant, encoding="utf-8") as file:
        touched = re.findall(r"^\+\+\+ b/(\S+)", file.read(), re.M)
    assert touched and all(t.endswith(".cc") for t in touched), f"{mutant}: only .cc files can be changed"
    flags = ["-std=c++23", "-O0", "-DFMT_HEADER_ONLY=1", "-I", copy, "-I", os.path.join(REPO, "src")]
    objects = []
    for path in touched:
        objects.append(os.path.join(scratch, os.path.basename(path) + ".o"))
        subprocess.run(["g++", *flags, "-c", os.path.join(scratch, path), "-o", objects[-1]], check=True)
    program = os.path.join(scratch, "sim")
    main = os.path.join(build_dir, "tests/sim/CMakeFiles/watchcache_sim.dir/main.cc.o")
    archives = [os.path.join(build_dir, "lib", f"lib{n}.a") for n in ("watchcache_simulator", "dormouse_watchcache", "dormouse_base")]
    subprocess.run(["g++", main, *objects, *archives, "-lzstd", "-lpthread", "-o", program], check=True)
    return program


def try_one(mutant, build_dir):
    with tempfile.TemporaryDirectory() as scratch:
        program = build(mutant, scratch, build_dir)
        started = time.monotonic()
        done = subprocess.run([program, "--events", str(EVENTS)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace"), time.monotonic() - started


def description(mutant):
    with open(mutant, encoding="utf-8") as file:
        return file.readline().strip()


def main():
    build_dir = os.path.abspath(sys.argv[1])
    mutants = sorted(glob.glob(os.path.join(HERE, "mutants/*.patch")))
    chosen = [m for m in mutants if not sys.argv[2:] or any(n in m for n in sys.argv[2:])]
    rows, missed = [], []
    jobs = int(os.environ.get("JOBS") or os.cpu_count() or 1)
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    futures = {pool.submit(try_one, mutant, build_dir): mutant for mutant in chosen}
    for future in concurrent.futures.as_completed(futures):
        mutant, (code, output, seconds) = futures[future], future.result()
        name = os.path.basename(mutant)[:-len(".patch")]
        found = re.search(r"^FAILED (.*)$", output, re.M)
        seed = re.search(r"--seed (\d+) --steps (\d+)", output)
        if found and code == 1:
            what = re.sub(r"^step \d+: ", "", found.group(1)).split(";")[0]
            what = re.sub(r"^reader \d+ \(.*?\): ", "", re.sub(r"\d+", "N", what))
            print(f"found   {name} in {seconds:.1f} s: seed {seed.group(1)}, {seed.group(2)} steps: {what}", flush=True)
            rows.append(f"| {name} | {description(mutant)} | seed {seed.group(1)}, {seed.group(2)} steps | {what} |")
        else:
            missed.append(name)
            print(f"MISSED  {name} in {seconds:.1f} s: {output.strip()[-300:]}", flush=True)
            rows.append(f"| {name} | {description(mutant)} | **missed** | |")
    print(f"{len(chosen) - len(missed)} of {len(chosen)} found")
    if len(chosen) == len(mutants):
        readme = os.path.join(HERE, "README.md")
        with open(readme, encoding="utf-8") as file:
            text = file.read()
        head = text.split("| mutant |")[0].rstrip("\n")
        with open(readme, "w", encoding="utf-8") as file:
            file.write(head + "\n\n| mutant | the bug | found by, made smaller | what the oracle says |\n|---|---|---|---|\n" + "\n".join(sorted(rows)) + "\n")
    sys.exit(1 if missed or not chosen else 0)


if __name__ == "__main__":
    main()
