import Testing
@testable import MoEKernel
