// How the next token is chosen from a row of logits. Everything is in double, ties go by token id, and the random number comes
// from outside, so the choice is a function of its arguments alone.
#pragma once

#include <cstdint>
#include <vector>

namespace fedllm {

// Applied in this order: temperature, the top_k likeliest, of those the smallest set of likeliest whose probability within them is at
// least top_p. What remains is drawn from in proportion.
struct sampling_options {
    double  temperature = 0.0;  // 0: greedy, the others have no effect
    int32_t top_k       = 0;    // 0: all
    double  top_p       = 1.0;  // 1: all
};

// A token and its probability.
struct token_probability {
    int32_t token;
    double  probability;
};

// Whether all are numbers below plus infinity and one is above minus infinity: what the functions below need.
bool logits_are_usable(const float * logits, int32_t n_vocab);

// Smallest id of the largest logits.
int32_t greedy_token(const float * logits, int32_t n_vocab);

// What is drawn from under the options (temperature above 0), with probabilities that sum to 1: in the order of ids where nothing is cut,
// by falling probability and then by id where something is.
std::vector<token_probability> sampling_distribution(const float * logits, int32_t n_vocab, const sampling_options & options);

// The token that the options and a number in [0, 1) choose.
int32_t sample_token(const float * logits, int32_t n_vocab, const sampling_options & options, double uniform);

// Natural-log probability of a token under the softmax of the logits as they are.
double token_log_probability(const float * logits, int32_t n_vocab, int32_t token);

// In [0, 1) with 53 bits: number `position` of the stream `seed`.
double sampling_uniform(uint64_t seed, uint64_t position);

}  // namespace fedllm
