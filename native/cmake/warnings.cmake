# Warnings are errors in our own code. Headers of ggml, llama.cpp and Node-API are SYSTEM includes and stay out of it.
function(fedllm_strict_warnings target)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Werror)
endfunction()
