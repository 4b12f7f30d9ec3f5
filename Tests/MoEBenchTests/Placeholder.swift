import Testing
import MoEBench
