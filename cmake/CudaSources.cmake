# Our own CUDA kernels (*.cu): compiled with the nvcc that FindLibTorch.cmake chose, for compute capabilities 8.0
# (A100) to 12.0 (Blackwell). A tree without kernels needs no nvcc that works, only the toolkit's headers.

if(LIBTORCH_CUDA)
  file(GLOB_RECURSE _kernels CONFIGURE_DEPENDS
       ${CMAKE_SOURCE_DIR}/data/*.cu ${CMAKE_SOURCE_DIR}/launcher/*.cu ${CMAKE_SOURCE_DIR}/trainer/*.cu)
  if(_kernels)
    if(NOT CMAKE_CUDA_COMPILER)
      set(CMAKE_CUDA_COMPILER ${CUDA_NVCC})
    endif()
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80 86 89 90 100 120 CACHE STRING "Compute capabilities to build for")
    endif()
    # CMake 3.25 does not know that nvcc 13 speaks C++20. The wheel's toolkit keeps its libraries in lib, where nvcc
    # looks in lib64 when CMake tries it.
    get_filename_component(_cudart_dir ${CUDART_LIBRARY} DIRECTORY)
    string(APPEND CMAKE_CUDA_FLAGS " -std=c++20 -L${_cudart_dir}")
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
    enable_language(CUDA)
    # Not a second CUDA runtime, linked statically: LibTorch::Cuda brings the one that LibTorch itself loads.
    set(CMAKE_CUDA_RUNTIME_LIBRARY None)
    list(FILTER CMAKE_CUDA_IMPLICIT_LINK_LIBRARIES EXCLUDE REGEX "^cudart")
  endif()
endif()
