# LibTorch::LibTorch, from a LibTorch archive or from a Python wheel of torch; LibTorch::Cuda, the same with its CUDA
# libraries, the CUDA runtime and NCCL.
#
# Looked for in CMAKE_PREFIX_PATH, LibTorch_ROOT and ${CMAKE_SOURCE_DIR}/.venv. LibTorch's own TorchConfig.cmake
# is not used: it insists on a CUDA toolkit of its own finding and probes for a GPU at configure time.
#
# With WITH_CUDA also what the CUDA part needs: nvcc and the headers from CUDAToolkit_ROOT, from the toolkit that
# PyPI has beside the wheel, from PATH or from /usr/local/cuda, whichever is first and of LibTorch's major version;
# the CUDA runtime and NCCL are the very ones that LibTorch loads.
#
# Sets LIBTORCH_LIBRARY_DIR, LIBTORCH_CUDA (ON with WITH_CUDA), NCCL_LIBRARY, CUDA_NVCC.

file(GLOB _torch_venv ${CMAKE_SOURCE_DIR}/.venv/lib/python3.*/site-packages)
find_path(LIBTORCH_INCLUDE_DIR torch/csrc/api/include/torch/torch.h
          HINTS ${_torch_venv}/torch PATH_SUFFIXES include torch/include
          DOC "LibTorch's include folder")
get_filename_component(LIBTORCH_ROOT_DIR "${LIBTORCH_INCLUDE_DIR}" DIRECTORY)
find_library(LIBTORCH_CPU_LIBRARY torch_cpu HINTS ${LIBTORCH_ROOT_DIR}/lib NO_DEFAULT_PATH)
find_library(LIBTORCH_C10_LIBRARY c10 HINTS ${LIBTORCH_ROOT_DIR}/lib NO_DEFAULT_PATH)
get_filename_component(LIBTORCH_LIBRARY_DIR "${LIBTORCH_CPU_LIBRARY}" DIRECTORY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LIBTORCH_INCLUDE_DIR LIBTORCH_CPU_LIBRARY LIBTORCH_C10_LIBRARY
  REASON_FAILURE_MESSAGE "Run scripts/setup.sh, or give -DCMAKE_PREFIX_PATH=<your LibTorch>.")

# Sets ${out} to the major version of CUDA that LibTorch was built for, or to nothing where it does not say.
function(libtorch_cuda_major out)
  set(${out} "" PARENT_SCOPE)
  foreach(file IN ITEMS version.py build-version)  # in the wheel; in the archive
    if(EXISTS ${LIBTORCH_ROOT_DIR}/${file})
      file(STRINGS ${LIBTORCH_ROOT_DIR}/${file} lines REGEX "\\+cu[0-9]+")
      if(lines MATCHES "\\+cu([0-9]+)[0-9]")  # cu130: 13.0
        set(${out} ${CMAKE_MATCH_1} PARENT_SCOPE)
        return()
      endif()
    endif()
  endforeach()
endfunction()

# A validator for find_path: accepts a folder whose cuda.h is of the major version _cuda_major, if that is known.
function(cuda_headers_fit out folder)
  set(${out} TRUE PARENT_SCOPE)
  if(_cuda_major AND EXISTS ${folder}/cuda.h)
    file(STRINGS ${folder}/cuda.h line REGEX "^#define CUDA_VERSION [0-9]+")
    if(NOT line MATCHES "CUDA_VERSION ${_cuda_major}[0-9][0-9][0-9]$")
      set(${out} FALSE PARENT_SCOPE)
    endif()
  endif()
endfunction()

set(LIBTORCH_CUDA OFF)
if(WITH_CUDA AND LibTorch_FOUND)
  libtorch_cuda_major(_cuda_major)
  get_filename_component(_site_packages "${LIBTORCH_ROOT_DIR}" DIRECTORY)
  set(_pypi_toolkit ${_site_packages}/nvidia/cu${_cuda_major})
  find_library(LIBTORCH_CUDA_LIBRARY torch_cuda HINTS ${LIBTORCH_ROOT_DIR}/lib NO_DEFAULT_PATH)
  find_library(LIBTORCH_C10_CUDA_LIBRARY c10_cuda HINTS ${LIBTORCH_ROOT_DIR}/lib NO_DEFAULT_PATH)

  # crt/ is what the runtime's own wheel lacks: headers without it are no toolkit.
  find_program(_nvcc_on_path nvcc NO_CACHE)
  get_filename_component(_nvcc_real "${_nvcc_on_path}" REALPATH)
  get_filename_component(_path_toolkit "${_nvcc_real}/../.." ABSOLUTE)
  find_path(CUDA_INCLUDE_DIR crt/host_config.h VALIDATOR cuda_headers_fit
            HINTS ${CUDAToolkit_ROOT} ${_pypi_toolkit} ${_path_toolkit} /usr/local/cuda
            PATH_SUFFIXES include targets/x86_64-linux/include NO_DEFAULT_PATH)
  string(REGEX REPLACE "/(targets/[^/]+/)?include$" "" _toolkit "${CUDA_INCLUDE_DIR}")
  find_program(CUDA_NVCC nvcc HINTS ${_toolkit}/bin NO_DEFAULT_PATH)
  # Linking the runtime by its full name works for the wheel too, which has no libcudart.so.
  find_library(CUDART_LIBRARY NAMES libcudart.so.${_cuda_major} cudart
               HINTS ${_pypi_toolkit}/lib ${LIBTORCH_ROOT_DIR}/lib ${_toolkit}/lib64 ${_toolkit}/lib NO_DEFAULT_PATH)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${_site_packages}/nvidia/nccl/include)
  find_library(NCCL_LIBRARY NAMES libnccl.so.2 nccl HINTS ${_site_packages}/nvidia/nccl/lib ${LIBTORCH_ROOT_DIR}/lib)

  foreach(_part IN ITEMS LIBTORCH_CUDA_LIBRARY LIBTORCH_C10_CUDA_LIBRARY CUDA_INCLUDE_DIR CUDA_NVCC CUDART_LIBRARY
                         NCCL_INCLUDE_DIR NCCL_LIBRARY)
    if(NOT ${_part})
      message(FATAL_ERROR
        "WITH_CUDA is on, but ${_part} was not found (LibTorch: ${LIBTORCH_ROOT_DIR}, CUDA ${_cuda_major}). Run "
        "scripts/setup.sh, or name it with -D${_part}=..., or a toolkit with -DCUDAToolkit_ROOT=..., or configure "
        "with -DWITH_CUDA=OFF.")
    endif()
  endforeach()
  set(LIBTORCH_CUDA ON)
endif()

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
    ${LIBTORCH_INCLUDE_DIR} ${LIBTORCH_INCLUDE_DIR}/torch/csrc/api/include)
  target_link_libraries(LibTorch::LibTorch INTERFACE ${LIBTORCH_CPU_LIBRARY} ${LIBTORCH_C10_LIBRARY})
  if(LIBTORCH_CUDA)
    add_library(LibTorch::Cuda INTERFACE IMPORTED)
    target_include_directories(LibTorch::Cuda SYSTEM INTERFACE ${CUDA_INCLUDE_DIR} ${NCCL_INCLUDE_DIR})
    # libtorch_cuda registers its kernels when it is loaded; nothing of ours need name a symbol of it.
    target_link_libraries(LibTorch::Cuda INTERFACE LibTorch::LibTorch
      -Wl,--no-as-needed ${LIBTORCH_CUDA_LIBRARY} -Wl,--as-needed ${LIBTORCH_C10_CUDA_LIBRARY}
      ${NCCL_LIBRARY} ${CUDART_LIBRARY})
  endif()
endif()
