// Entry of the core's test program: reads options, loads ggml's backends, runs the tests and prints one line for each.
// Exit code 0: nothing failed; 1: something failed; 2: wrong usage.
#include <chrono>
#include <cstdlib>

#ifdef __linux__
#include <sys/resource.h>
#endif

#include "backend.h"
#include "ggml.h"
#include "harness.h"
#include "llama.h"
#include "memory-probe.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

struct program_options {
    std::string              libs_dir;
    std::vector<std::string> filters;  // a test runs when its name contains one of them; empty: all
    bool                     list = false;
    bool                     verbose = false;
};

const char * USAGE =
    "usage: core_test [--libs DIR] [--shared DIR] [--device NAME] [--list] [--verbose] [PART_OF_A_NAME...]\n"
    "  --libs DIR    folder of the prebuilt ggml and llama libraries (or FEDLLM_LIBS_DIR)\n"
    "  --device NAME device for the tests of other backends, such as Vulkan0 or CUDA0 (or FEDLLM_TEST_DEVICE); else they are skipped\n"
    "  --shared DIR  folder of shared data with models/ (or FEDLLM_SHARED_DATA); tests that need it are else skipped\n";

program_options parse_options(int argc, char ** argv) {
    program_options options;
#ifdef FEDLLM_LIBS_DIR
    options.libs_dir = FEDLLM_LIBS_DIR;
#endif
    if (const char * value = std::getenv("FEDLLM_LIBS_DIR")) {
        options.libs_dir = value;
    }
    if (const char * value = std::getenv("FEDLLM_SHARED_DATA")) {
        shared_data_dir() = value;
    }
    if (const char * value = std::getenv("FEDLLM_TEST_DEVICE")) {
        test_device() = value;
    }
    for (int i = 1; i < argc; i++) {
        const std::string argument = argv[i];
        const bool        has_value = i + 1 < argc;
        if (argument == "--list") {
            options.list = true;
        } else if (argument == "--verbose") {
            options.verbose = true;
        } else if (argument == "--libs" && has_value) {
            options.libs_dir = argv[++i];
        } else if (argument == "--device" && has_value) {
            test_device() = argv[++i];
        } else if (argument == "--shared" && has_value) {
            shared_data_dir() = argv[++i];
        } else if (argument.rfind("--", 0) == 0) {
            std::fputs(USAGE, stderr);
            std::exit(argument == "--help" ? 0 : 2);
        } else {
            options.filters.push_back(argument);
        }
    }
    return options;
}

bool is_selected(const program_options & options, const test_case & test) {
    for (const std::string & filter : options.filters) {
        if (test.name.find(filter) != std::string::npos) {
            return true;
        }
    }
    return options.filters.empty();
}

enum class outcome { passed, failed, skipped };

outcome run_test(const test_case & test) {
    const auto start = std::chrono::steady_clock::now();
    try {
        std::string detail = test.run();
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        std::printf("ok %s (%s%s%.1f s)\n", test.name.c_str(), detail.c_str(), detail.empty() ? "" : "; ", seconds);
        return outcome::passed;
    } catch (const test_skipped & skipped) {
        std::printf("skipped %s: %s\n", test.name.c_str(), skipped.what());
        return outcome::skipped;
    } catch (const fedllm::train_error & error) {
        std::printf("FAIL %s: %s: %s\n", test.name.c_str(), error.code.c_str(), error.what());
    } catch (const std::exception & error) {
        std::printf("FAIL %s: %s\n", test.name.c_str(), error.what());
    }
    return outcome::failed;
}

// ggml's Vulkan backend spins while it waits. Where the driver computes and compiles shaders on the processor, that would take
// half of its time, so the tests' thread gives way to it: opening the device starts the driver's threads, and they keep
// the priority of that moment.
void let_drivers_go_first() {
#ifdef __linux__
    if (test_device().empty()) return;
    try {
        const fedllm::backend device(test_device(), TEST_THREADS);
        setpriority(PRIO_PROCESS, 0, 19);  // of this thread alone, as Linux has it
    } catch (const std::exception & error) {
        std::fprintf(stderr, "core_test: %s\n", error.what());
    }
#endif
}

}  // namespace

int main(int argc, char ** argv) {
    if (const int code = memory_probe_main(argc, argv); code >= 0) {
        return code;
    }
    const program_options options = parse_options(argc, argv);
    std::setvbuf(stdout, nullptr, _IOLBF, 4096);
    if (options.list) {
        for (const test_case & test : test_registry()) {
            std::printf("%s\n", test.name.c_str());
        }
        return 0;
    }
    if (options.libs_dir.empty()) {
        std::fputs(USAGE, stderr);
        return 2;
    }
    if (!options.verbose) {
        // Reading broken files on purpose makes ggml and llama.cpp talk a lot.
        ggml_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
        llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    }
    libraries_dir() = options.libs_dir;
    try {
        fedllm::backend_load_all(options.libs_dir);
    } catch (const std::exception & error) {
        std::fprintf(stderr, "core_test: %s\n", error.what());
        return 2;
    }
    let_drivers_go_first();
    const auto start = std::chrono::steady_clock::now();
    int        n_passed = 0, n_failed = 0, n_skipped = 0;
    for (const test_case & test : test_registry()) {
        if (!is_selected(options, test)) {
            continue;
        }
        switch (run_test(test)) {
            case outcome::passed: n_passed++; break;
            case outcome::failed: n_failed++; break;
            case outcome::skipped: n_skipped++; break;
        }
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("core_test: %d passed, %d failed, %d skipped in %.1f s\n", n_passed, n_failed, n_skipped, seconds);
    if (n_passed + n_failed + n_skipped == 0) {
        std::fputs("core_test: no test has such a name\n", stderr);
        return 2;
    }
    return n_failed == 0 ? 0 : 1;
}
