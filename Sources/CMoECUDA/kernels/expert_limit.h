// The most experts that the kernels take.
#pragma once

enum { MC_MAXIMUM_EXPERTS = 512 };
