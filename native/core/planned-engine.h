// An engine made by a plan, which gives way to a leaner one when the device turns out to have less memory than it said.
#pragma once

#include <memory>

#include "error.h"
#include "planner.h"

namespace fedllm {

// What a call of train() asks a planner for; points into the options.
plan_request plan_training(const train_options & options);

class planned_engine {
  public:
    // settings: tier and head chunk come from the plan. Throws OUT_OF_MEMORY when no plan fits, with the numbers of the leanest.
    planned_engine(const base_model & model, const plan_request & request, const engine_options & settings)
        : model_(model), request_(request), settings_(settings), planner_(model, request), plan_(planner_.choose()) {}

    const memory_plan & plan() const { return plan_; }
    hidden_cache_counts cache_counts() const { return engine_ == nullptr ? hidden_cache_counts() : engine_->counters().cache; }
    // How it went so far, for the caller.
    memory_use use() const;

    // Returns work(engine, micro_batch_tokens). When it throws OUT_OF_MEMORY, the next leaner plan's engine is made and work is
    // called again; a second time the error goes on, with the numbers of the plan. work must start from the beginning: a new engine
    // has neither weights nor gradients.
    template <typename Work>
    auto run(const Work & work) {
        while (true) {
            try {
                return work(make_engine(), plan_.micro_batch_tokens);
            } catch (const train_error & error) {
                if (error.code != "OUT_OF_MEMORY") throw;
                fall_back(error);
            }
        }
    }

  private:
    engine & make_engine();
    void     fall_back(const train_error & error);

    const base_model &      model_;
    plan_request            request_;
    engine_options          settings_;
    memory_planner          planner_;
    memory_plan             plan_;
    std::unique_ptr<engine> engine_;
    bool                    fell_back_ = false;
};

}  // namespace fedllm
