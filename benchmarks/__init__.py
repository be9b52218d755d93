"""The benchmarks: every `bench_*.py` measures figures beside their floors; `scripts/bench --list` names them."""
