import MoEKernel
