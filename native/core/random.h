// Counter-based random numbers: every number is a function of a key and a position, so that results depend neither on
// the order of work nor on the number of threads. The mixer is SplitMix64's (Steele, Lea and Flood, 2014).
#pragma once

#include <cstdint>
#include <string>

namespace fedllm {

inline uint64_t random_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

inline uint64_t random_combine(uint64_t key, uint64_t value) { return random_mix(random_mix(key) ^ value); }

// FNV-1a, to turn a tensor's name into a key.
inline uint64_t random_hash_name(const std::string & name) {
    uint64_t hash = 0xcbf29ce484222325ull;
    for (unsigned char c : name) hash = (hash ^ c) * 0x100000001b3ull;
    return hash;
}

// In [0, 1) with 24 bits, exactly representable in F32.
inline float random_uniform(uint64_t key, uint64_t position) {
    return float(random_combine(key, position) >> 40) * (1.0f / 16777216.0f);
}

}  // namespace fedllm
