# Compiles kernel sources once per instruction set. A source sees FEDLLM_SIMD_<NAME> = 1 and FEDLLM_SIMD = <name>
# and gives its functions names that end in it; which one runs is decided at run time. On processors other than
# x86-64 only the generic variant exists. FEDLLM_HAVE_X86_KERNELS tells the dispatcher what is there.
function(fedllm_add_simd_variants target)
    set(sources ${ARGN})
    fedllm_add_simd_variant(${target} generic "" ${sources})
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT CMAKE_OSX_ARCHITECTURES STREQUAL "arm64")
        fedllm_add_simd_variant(${target} avx2 "-mavx2;-mfma;-mf16c" ${sources})
        fedllm_add_simd_variant(${target} avx512
            "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx2;-mfma;-mf16c" ${sources})
        target_compile_definitions(${target} PRIVATE FEDLLM_HAVE_X86_KERNELS=1)
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
