// The C library, and with it libm, which the compiler calls for square roots where it cannot prove the argument's sign.
#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif
