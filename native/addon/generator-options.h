// JS values of generation -> plain structs; the rules of options.h hold.
#pragma once

#include <napi.h>

#include "generator.h"

namespace fedllm::addon {

generator_options  read_generator_options(const Napi::Value & value);
// The generator checks token ids against its vocabulary.
generation_request read_generation_request(const Napi::Value & value);

}  // namespace fedllm::addon
