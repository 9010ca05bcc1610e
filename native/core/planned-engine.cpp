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

memory_use planned_engine::use() const {
    memory_use use;
    use.micro_batch_tokens = plan_.micro_batch_tokens;
    use.recomputes = plan_.tier == checkpoint_tier::layer_inputs;
    use.streams = plan_.streams;
    use.fell_back = fell_back_;
    use.planned_bytes = plan_.needed;
    use.planned_peak = plan_.host_bytes();
    use.planned_device_bytes = plan_.device_bytes() - plan_.parts.weights;
    use.device_bytes = engine_ == nullptr ? 0 : engine_->device_bytes();
    return use;
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
