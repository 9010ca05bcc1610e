# Compiles kernel sources once per instruction set. A source sees FEDLLM_SIMD_<NAME> = 1 and FEDLLM_SIMD = <name>
# and gives its tables names that end in it; which one runs is decided at run time. FEDLLM_HAVE_X86_KERNELS,
# FEDLLM_HAVE_BF16_KERNELS and FEDLLM_HAVE_NEON_KERNELS tell the dispatcher what is there besides the generic variant.
include(CheckCXXCompilerFlag)

# gemm: the source of the matrix products; rows: that of the loops over one row; vectors: that of arithmetic
# whose bits are the same in every variant.
function(fedllm_add_simd_variants target gemm rows vectors)
    set_source_files_properties(${vectors} PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
    fedllm_add_simd_variant(${target} generic -ffp-contract=off ${gemm} ${rows} ${vectors})  # or sums would round differently at edges
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT CMAKE_OSX_ARCHITECTURES STREQUAL "arm64")
        set(avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c)
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
            list(APPEND avx512 -Wno-uninitialized -Wno-maybe-uninitialized)  # false in its own intrinsics (GCC bug 105593)
        endif()
        fedllm_add_simd_variant(${target} avx2 "-mavx2;-mfma;-mf16c" ${gemm} ${rows} ${vectors})
        fedllm_add_simd_variant(${target} avx512 "${avx512}" ${gemm} ${rows} ${vectors})
        target_compile_definitions(${target} PRIVATE FEDLLM_HAVE_X86_KERNELS=1)
        check_cxx_compiler_flag(-mavx512bf16 FEDLLM_COMPILER_HAS_AVX512BF16)
        if(FEDLLM_COMPILER_HAS_AVX512BF16)
            fedllm_add_simd_variant(${target} avx512bf16 "${avx512};-mavx512bf16" ${gemm})
            target_compile_definitions(${target} PRIVATE FEDLLM_HAVE_BF16_KERNELS=1)
        endif()
    elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$" OR CMAKE_OSX_ARCHITECTURES STREQUAL "arm64")
        fedllm_add_simd_variant(${target} neon "" ${gemm} ${rows} ${vectors})  # every such processor has it
        target_compile_definitions(${target} PRIVATE FEDLLM_HAVE_NEON_KERNELS=1)
    endif()
endfunction()

function(fedllm_add_simd_variant target name flags)
    string(TOUPPER ${name} upper_name)
    add_library(${target}_${name} OBJECT ${ARGN})
    target_compile_definitions(${target}_${name} PRIVATE FEDLLM_SIMD=${name} FEDLLM_SIMD_${upper_name}=1)
    target_compile_options(${target}_${name} PRIVATE ${flags})
    target_include_directories(${target}_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/core)
    target_include_directories(${target}_${name} SYSTEM PRIVATE ${FEDLLM_INCLUDE_DIR})
    fedllm_strict_warnings(${target}_${name})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${name}>)
endfunction()
