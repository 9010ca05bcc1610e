// How much memory there is: of a device, and of this machine as far as this process may use it.
#pragma once

#include <cstddef>
#include <string>

#include "backend.h"

namespace fedllm {

// Bytes that can be allocated on a device now. ggml takes all memory of the machine for free on the CPU; here it is what the
// system says is available, or what is left of this process's control group where that is less.
size_t device_free_bytes(const backend & device);

// Bytes of this machine's memory that this process can still take; 0 where the system does not say.
size_t host_free_bytes();

// Bytes of this process that are in memory now, mapped files included; 0 where the system does not say.
size_t process_resident_bytes();

// "1.23 GB": for messages, in powers of ten.
std::string bytes_text(size_t bytes);

}  // namespace fedllm
