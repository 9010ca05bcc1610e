// Threads that share the chunks of one piece of work. Chunks are handed out one by one, so a thread that the system has
// put aside holds up at most the chunk it is in; idle threads spin for a moment and then sleep, so that they take nothing
// from other programs. (ggml's own threads meet at a spinning barrier after every operation, which costs a time slice each
// as soon as another program wants the processor.)
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace fedllm {

class thread_pool {
  public:
    // n_threads counts the caller of run().
    explicit thread_pool(int n_threads);
    ~thread_pool();
    thread_pool(const thread_pool &)             = delete;
    thread_pool & operator=(const thread_pool &) = delete;

    int n_threads() const { return int(workers_.size()) + 1; }

    // Calls work(i) once for each i in [0, n_chunks), on any thread, and returns when all are done. One call at a time.
    template <typename Work>
    void run(int64_t n_chunks, const Work & work) {
        run_chunks(n_chunks, [](const void * context, int64_t i) { (*static_cast<const Work *>(context))(i); }, &work);
    }

  private:
    using chunk_fn = void (*)(const void * context, int64_t chunk);
    void run_chunks(int64_t n_chunks, chunk_fn function, const void * context);
    void take_chunks();
    void worker_loop();
    bool wait_for_work();

    std::vector<std::thread> workers_;
    chunk_fn                 function_ = nullptr;
    const void *             context_ = nullptr;
    int64_t                  n_chunks_ = 0;
    std::atomic<int64_t>     next_{ 0 };
    std::atomic<bool>        open_{ false };  // work may be taken
    std::atomic<int>         active_{ 0 };    // workers that may be inside a chunk
    std::atomic<int>         sleepers_{ 0 };
    std::atomic<bool>        stop_{ false };
    std::mutex               mutex_;
    std::condition_variable  wake_;
};

}  // namespace fedllm
