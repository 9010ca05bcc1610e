// See planned-engine.h.
#include "planned-engine.h"

#include "device-memory.h"

namespace fedllm {

engine & planned_engine::make_engine() {
    if (engine_ == nullptr) {
        engine_options settings = settings_;
        settings.tier = plan_.tier;
        settings.head_chunk = plan_.head_chunk;
        if (settings.cache != nullptr) settings.cache->set_capacity(cache_capacity(plan_, *settings.cache));
        engine_ = std::make_unique<engine>(model_, request_.adapter, settings);
    }
    return *engine_;
}

void planned_engine::fall_back(const train_error & error) {
    engine_.reset();
    const memory_plan tried = plan_;
    const auto give_up = [&] {
        return train_error("OUT_OF_MEMORY", std::string(error.what()) + " (planned: " + bytes_text(tried.needed) + " of " + bytes_text(tried.limit) + " free; " + plan_text(tried) + ")");
    };
    if (fell_back_) throw give_up();
    fell_back_ = true;
    while (const std::optional<memory_plan> next = planner_.next()) {
        if (next->needed >= tried.needed) continue;
        plan_ = *next;
        return;
    }
    throw give_up();
}

}  // namespace fedllm
