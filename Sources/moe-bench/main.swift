import MoEBench
