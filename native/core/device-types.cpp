// See device-types.h. The device itself is asked, with tensors that have no memory.
#include "device-types.h"

namespace fedllm {

bool device_takes_weight(const backend & device, ggml_type type, int64_t d_in, int64_t d_out) {
    const ggml_type_traits * traits = ggml_get_type_traits(type);
    const bool holds_numbers = type == GGML_TYPE_F32 || (traits->to_float != nullptr && type != GGML_TYPE_F64);
    if (!holds_numbers || d_in % ggml_blck_size(type) != 0) return false;
    if (device.is_cpu) return true;  // kernels of our own
    ggml_context * context = ggml_init({ ggml_tensor_overhead() * 8, nullptr, true });
    constexpr int64_t N_TOKENS = 64;
    ggml_tensor * weight = ggml_new_tensor_2d(context, type, d_in, d_out);
    ggml_tensor * product = ggml_mul_mat(context, weight, ggml_new_tensor_2d(context, GGML_TYPE_F32, d_in, N_TOKENS));
    ggml_mul_mat_set_prec(product, GGML_PREC_F32);
    ggml_tensor * rows = ggml_get_rows(context, weight, ggml_new_tensor_1d(context, GGML_TYPE_I32, N_TOKENS));
    const bool takes = ggml_backend_dev_supports_op(device.device, product) && ggml_backend_dev_supports_op(device.device, rows);
    ggml_free(context);
    return takes;
}

std::vector<ggml_type> device_weight_types(const backend & device, int64_t d_in, int64_t d_out) {
    std::vector<ggml_type> types;
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
        // Removed types keep their number and have no block.
        if (ggml_blck_size(ggml_type(i)) > 0 && device_takes_weight(device, ggml_type(i), d_in, d_out)) types.push_back(ggml_type(i));
    }
    return types;
}

}  // namespace fedllm
