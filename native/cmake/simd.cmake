# Compiles one kernel source once per instruction set. The source sees FEDLLM_SIMD_<NAME> = 1 and FEDLLM_SIMD = <name>
# and puts its functions into a namespace of that name; which one runs is decided at run time. On processors other than
# x86-64 only the generic variant exists. FEDLLM_HAVE_AVX2 and FEDLLM_HAVE_AVX512 tell the dispatcher what is there.
function(fedllm_add_simd_variants target source)
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${source})
        return()
    endif()
    fedllm_add_simd_variant(${target} ${source} generic "")
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT CMAKE_OSX_ARCHITECTURES STREQUAL "arm64")
        fedllm_add_simd_variant(${target} ${source} avx2 "-mavx2;-mfma;-mf16c")
        fedllm_add_simd_variant(${target} ${source} avx512
            "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx2;-mfma;-mf16c")
        target_compile_definitions(${target} PRIVATE FEDLLM_HAVE_AVX2=1 FEDLLM_HAVE_AVX512=1)
    endif()
endfunction()

function(fedllm_add_simd_variant target source name flags)
    string(TOUPPER ${name} upper_name)
    add_library(${target}_${name} OBJECT ${source})
    target_compile_definitions(${target}_${name} PRIVATE FEDLLM_SIMD=${name} FEDLLM_SIMD_${upper_name}=1)
    target_compile_options(${target}_${name} PRIVATE ${flags})
    target_include_directories(${target}_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/core)
    target_include_directories(${target}_${name} SYSTEM PRIVATE ${FEDLLM_INCLUDE_DIR})
    fedllm_strict_warnings(${target}_${name})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${name}>)
endfunction()
