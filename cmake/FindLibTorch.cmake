# LibTorch::LibTorch, from a LibTorch archive or from a Python wheel of torch.
#
# Looked for in CMAKE_PREFIX_PATH, LibTorch_ROOT and ${CMAKE_SOURCE_DIR}/.venv. LibTorch's own TorchConfig.cmake
# is not used: it insists on a CUDA toolkit of its own finding and probes for a GPU at configure time.
#
# Sets LIBTORCH_LIBRARY_DIR, LIBTORCH_CUDA (the library has its CUDA part and WITH_CUDA is on), NCCL_LIBRARY.

file(GLOB _torch_venv ${CMAKE_SOURCE_DIR}/.venv/lib/python3.*/site-packages)
find_path(LIBTORCH_INCLUDE_DIR torch/csrc/api/include/torch/torch.h
          HINTS ${_torch_venv}/torch PATH_SUFFIXES include torch/include
          DOC "LibTorch's include folder")
get_filename_component(LIBTORCH_ROOT_DIR "${LIBTORCH_INCLUDE_DIR}" DIRECTORY)
find_library(LIBTORCH_CPU_LIBRARY torch_cpu HINTS ${LIBTORCH_ROOT_DIR}/lib NO_DEFAULT_PATH)
find_library(LIBTORCH_C10_LIBRARY c10 HINTS ${LIBTORCH_ROOT_DIR}/lib NO_DEFAULT_PATH)
find_library(LIBTORCH_CUDA_LIBRARY torch_cuda HINTS ${LIBTORCH_ROOT_DIR}/lib NO_DEFAULT_PATH)
find_library(LIBTORCH_C10_CUDA_LIBRARY c10_cuda HINTS ${LIBTORCH_ROOT_DIR}/lib NO_DEFAULT_PATH)
get_filename_component(LIBTORCH_LIBRARY_DIR "${LIBTORCH_CPU_LIBRARY}" DIRECTORY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LIBTORCH_INCLUDE_DIR LIBTORCH_CPU_LIBRARY LIBTORCH_C10_LIBRARY
  REASON_FAILURE_MESSAGE "Run scripts/setup.sh, or give -DCMAKE_PREFIX_PATH=<your LibTorch>.")

set(LIBTORCH_CUDA OFF)
if(WITH_CUDA)
  get_filename_component(_site_packages "${LIBTORCH_ROOT_DIR}" DIRECTORY)
  # PyPI's toolkit (cuda-toolkit[nvcc,cccl,crt]) where the machine has none of its own.
  find_package(CUDAToolkit QUIET)
  if(NOT CUDAToolkit_FOUND)
    file(GLOB _pypi_toolkit ${_site_packages}/nvidia/cu13)
    if(_pypi_toolkit)
      set(CUDAToolkit_ROOT ${_pypi_toolkit})
      find_package(CUDAToolkit QUIET)
    endif()
  endif()
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${_site_packages}/nvidia/nccl/include)
  find_library(NCCL_LIBRARY NAMES libnccl.so.2 nccl HINTS ${_site_packages}/nvidia/nccl/lib)
  if(CUDAToolkit_FOUND AND LIBTORCH_CUDA_LIBRARY AND NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
    set(LIBTORCH_CUDA ON)
  else()
    message(FATAL_ERROR
      "WITH_CUDA is on, but not all of it is here: toolkit '${CUDAToolkit_LIBRARY_ROOT}', libtorch_cuda "
      "'${LIBTORCH_CUDA_LIBRARY}', nccl.h '${NCCL_INCLUDE_DIR}', libnccl '${NCCL_LIBRARY}'. "
      "Run scripts/setup.sh, or configure with -DWITH_CUDA=OFF.")
  endif()
endif()

if(NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
    ${LIBTORCH_INCLUDE_DIR} ${LIBTORCH_INCLUDE_DIR}/torch/csrc/api/include)
  target_link_libraries(LibTorch::LibTorch INTERFACE ${LIBTORCH_CPU_LIBRARY} ${LIBTORCH_C10_LIBRARY})
  if(LIBTORCH_CUDA)
    target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS} ${NCCL_INCLUDE_DIR})
    target_compile_definitions(LibTorch::LibTorch INTERFACE WITH_CUDA=1)
    # libtorch_cuda registers its kernels when it is loaded; nothing of ours need name a symbol of it.
    target_link_libraries(LibTorch::LibTorch INTERFACE
      -Wl,--no-as-needed ${LIBTORCH_CUDA_LIBRARY} -Wl,--as-needed ${LIBTORCH_C10_CUDA_LIBRARY}
      ${NCCL_LIBRARY} CUDA::cudart)
  endif()
endif()
