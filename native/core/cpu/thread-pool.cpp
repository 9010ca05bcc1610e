// See thread-pool.h. A worker announces itself in active_ before it looks at open_, and the caller closes the work before it
// waits for active_ to fall to zero: a worker sees either open work whose fields stay valid, or none.
#include "cpu/thread-pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fedllm {

namespace {

// About 20 microseconds: longer than the gap between two parallel operations of a graph, far shorter than a time slice.
constexpr int SPIN_TURNS = 500;

void pause_briefly() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

thread_pool::thread_pool(int n_threads) {
    for (int i = 1; i < n_threads; ++i) workers_.emplace_back([this] { worker_loop(); });
}

thread_pool::~thread_pool() {
    stop_.store(true);
    {
        std::lock_guard<std::mutex> guard(mutex_);
        wake_.notify_all();
    }
    for (std::thread & worker : workers_) worker.join();
}

void thread_pool::take_chunks() {
    for (int64_t i = next_.fetch_add(1); i < n_chunks_; i = next_.fetch_add(1)) function_(context_, i);
}

void thread_pool::run_chunks(int64_t n_chunks, chunk_fn function, const void * context) {
    if (workers_.empty() || n_chunks < 2) {
        for (int64_t i = 0; i < n_chunks; ++i) function(context, i);
        return;
    }
    function_ = function;
    context_  = context;
    n_chunks_ = n_chunks;
    next_.store(0);
    open_.store(true);
    if (sleepers_.load() > 0) {
        std::lock_guard<std::mutex> guard(mutex_);
        wake_.notify_all();
    }
    take_chunks();
    open_.store(false);
    for (int turn = 0; active_.load() > 0; ++turn) {
        if (turn < SPIN_TURNS) pause_briefly();
        else std::this_thread::yield();  // lets a worker that was put aside finish its chunk
    }
}

// False: the pool ends.
bool thread_pool::wait_for_work() {
    for (int turn = 0; turn < SPIN_TURNS; ++turn) {
        if (stop_.load()) return false;
        if (open_.load()) return true;
        pause_briefly();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, [this] { return open_.load() || stop_.load(); });
    sleepers_.fetch_sub(1);
    return !stop_.load();
}

void thread_pool::worker_loop() {
    while (wait_for_work()) {
        active_.fetch_add(1);
        if (open_.load()) take_chunks();
        active_.fetch_sub(1);
        // The work is taken but the caller may still be in its last chunk: do not come back at full speed.
        if (open_.load()) pause_briefly();
    }
}

}  // namespace fedllm
