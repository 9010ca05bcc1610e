// The choice of tokens against numbers worked out by hand, and against a sort of everything.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gguf-fixture.h"
#include "harness.h"
#include "token-sampler.h"

using namespace fedllm;
using namespace fedllm_test;

namespace {

// Probabilities 0.4, 0.1, 0.2, 0.1, 0.2 at temperature 1; logits are F32, so everything below is within 1e-7.
std::vector<float> hand_logits() {
    std::vector<float> logits;
    for (const double probability : {0.4, 0.1, 0.2, 0.1, 0.2}) {
        logits.push_back(float(std::log(probability) + 3.0));
    }
    return logits;
}

void require_distribution(const sampling_options & options, const std::vector<token_probability> & expected, const std::string & what) {
    const std::vector<float>             logits = hand_logits();
    const std::vector<token_probability> found  = sampling_distribution(logits.data(), int32_t(logits.size()), options);
    require(found.size() == expected.size(), what + format(": %zu tokens remain, not %zu", found.size(), expected.size()));
    for (size_t i = 0; i < found.size(); ++i) {
        require(found[i].token == expected[i].token, what + format(": token %d is at place %zu, not %d", found[i].token, i, expected[i].token));
        require_close(found[i].probability, expected[i].probability, 1e-6, what + format(", token %d", found[i].token));
    }
}

}  // namespace

FEDLLM_TEST("sampler: temperature, top-k and top-p leave what a computation by hand leaves") {
    require_distribution({1.0, 0, 1.0}, {{0, 0.4}, {1, 0.1}, {2, 0.2}, {3, 0.1}, {4, 0.2}}, "all");
    // Squares of the probabilities, 0.16, 0.01, 0.04, 0.01, 0.04, over their sum 0.26.
    require_distribution({0.5, 0, 1.0}, {{0, 16.0 / 26}, {1, 1.0 / 26}, {2, 4.0 / 26}, {3, 1.0 / 26}, {4, 4.0 / 26}}, "temperature 0.5");
    // Tokens 2 and 4 are equal: the smaller id comes first, and alone when there is place for two.
    require_distribution({1.0, 2, 1.0}, {{0, 2.0 / 3}, {2, 1.0 / 3}}, "top-k 2");
    require_distribution({1.0, 3, 1.0}, {{0, 0.5}, {2, 0.25}, {4, 0.25}}, "top-k 3");
    require_distribution({1.0, 9, 1.0}, {{0, 0.4}, {1, 0.1}, {2, 0.2}, {3, 0.1}, {4, 0.2}}, "top-k above the vocabulary");
    require_distribution({1.0, 0, 0.0}, {{0, 1.0}}, "top-p 0");
    require_distribution({1.0, 0, 0.39}, {{0, 1.0}}, "top-p 0.39");
    require_distribution({1.0, 0, 0.41}, {{0, 2.0 / 3}, {2, 1.0 / 3}}, "top-p 0.41");
    require_distribution({1.0, 0, 0.81}, {{0, 4.0 / 9}, {2, 2.0 / 9}, {4, 2.0 / 9}, {1, 1.0 / 9}}, "top-p 0.81");
    // Of the three that top-k leaves, with 0.5, 0.25 and 0.25, the first two hold 0.74.
    require_distribution({1.0, 3, 0.74}, {{0, 2.0 / 3}, {2, 1.0 / 3}}, "top-k 3 and then top-p 0.74");
    return std::string();
}

FEDLLM_TEST("sampler: top-p over a large vocabulary keeps what a sort of everything keeps") {
    random_source      random(11);
    std::vector<float> logits(5000);
    for (float & logit : logits) {
        logit = float(std::round(random.normal() * 20.0) / 10.0);  // many equal ones
    }
    std::vector<token_probability> sorted = sampling_distribution(logits.data(), 5000, {1.0, 0, 1.0});
    std::sort(sorted.begin(), sorted.end(), [](const token_probability & a, const token_probability & b) {
        return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
    });
    for (const double top_p : {0.001, 0.05, 0.3, 0.77, 0.999}) {
        double held     = 0.0;
        size_t n_needed = 0;
        while (held < top_p) {
            held += sorted[n_needed++].probability;
        }
        const std::vector<token_probability> kept = sampling_distribution(logits.data(), 5000, {1.0, 0, top_p});
        require(kept.size() == n_needed, format("top-p %g keeps %zu tokens, not %zu", top_p, kept.size(), n_needed));
        for (size_t i = 0; i < kept.size(); ++i) {
            require(kept[i].token == sorted[i].token, format("top-p %g: token %d at place %zu", top_p, kept[i].token, i));
        }
    }
    return std::string();
}

FEDLLM_TEST("sampler: a number from 0 to 1 chooses the token in whose share it lies") {
    const std::vector<float> logits = hand_logits();
    const auto               choose = [&](const sampling_options & options, double uniform) { return sample_token(logits.data(), 5, options, uniform); };
    const double             nearly_one = std::nextafter(1.0, 0.0);
    require(choose({1.0, 0, 1.0}, 0.0) == 0 && choose({1.0, 0, 1.0}, 0.399) == 0, "the first share is token 0's");
    require(choose({1.0, 0, 1.0}, 0.401) == 1 && choose({1.0, 0, 1.0}, 0.499) == 1, "the second is token 1's");
    require(choose({1.0, 0, 1.0}, 0.501) == 2 && choose({1.0, 0, 1.0}, 0.801) == 4, "the others follow");
    require(choose({1.0, 0, 1.0}, nearly_one) == 4, "the last share reaches 1");
    require(choose({1.0, 2, 1.0}, nearly_one) == 2, "the last share of what is left reaches 1");
    require(choose({0.0, 0, 1.0}, 0.9) == 0, "greedy takes the likeliest whatever the number");
    std::vector<float> extreme = {-1000.0f, 5.0f, -std::numeric_limits<float>::infinity(), 5.0f};
    require(greedy_token(extreme.data(), 4) == 1, "of equals greedy takes the smallest id");
    require(sample_token(extreme.data(), 4, {1.0, 0, 1.0}, 0.0) == 1, "a token without probability is not drawn");
    require(sample_token(extreme.data(), 4, {1e-300, 0, 1.0}, nearly_one) == 3, "a temperature near 0 divides nothing by zero");
    return std::string();
}

FEDLLM_TEST("sampler: log-probabilities are those of the softmax, and logits that are no numbers are noticed") {
    std::vector<float> logits = hand_logits();
    for (int32_t token = 0; token < 5; ++token) {
        const double probability = sampling_distribution(logits.data(), 5, {1.0, 0, 1.0})[size_t(token)].probability;
        require_close(token_log_probability(logits.data(), 5, token), std::log(probability), 1e-12, format("token %d", token));
    }
    require(logits_are_usable(logits.data(), 5), "ordinary logits");
    logits[2] = -std::numeric_limits<float>::infinity();
    require(logits_are_usable(logits.data(), 5), "a token that cannot be");
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        for (size_t place = 0; place < 5; ++place) {
            std::vector<float> damaged = logits;
            damaged[place]             = bad;
            require(!logits_are_usable(damaged.data(), 5), format("%g at place %zu", double(bad), place));
        }
    }
    const std::vector<float> nothing(5, -std::numeric_limits<float>::infinity());
    require(!logits_are_usable(nothing.data(), 5), "no token can be");
    return std::string();
}

FEDLLM_TEST("sampler: numbers of one stream and of neighbouring streams are uniform and unrelated") {
    // Means of 100,000 numbers uniform in [0, 1) deviate by 0.29 / sqrt(100000) = 0.0009, correlations by 0.003; five deviations.
    constexpr int N = 100000;
    for (const uint64_t seed : {uint64_t(0), uint64_t(1), uint64_t(1) << 32, (uint64_t(1) << 53) - 1}) {
        double sum = 0.0, with_next = 0.0, with_seed = 0.0;
        for (int i = 0; i < N; ++i) {
            const double u = sampling_uniform(seed, uint64_t(i)) - 0.5;
            require(u >= -0.5 && u < 0.5, "a number lies outside [0, 1)");
            sum += u;
            with_next += u * (sampling_uniform(seed, uint64_t(i) + 1) - 0.5) * 12.0;
            with_seed += u * (sampling_uniform(seed + 1, uint64_t(i)) - 0.5) * 12.0;
        }
        require_below(std::fabs(sum / N), 5 * 0.00092, "distance of the mean from one half");
        require_below(std::fabs(with_next / N), 5 * 0.0032, "correlation with the next number");
        require_below(std::fabs(with_seed / N), 5 * 0.0032, "correlation with the next seed");
    }
    return std::string();
}
