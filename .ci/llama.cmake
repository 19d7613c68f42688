# Read by llama.cpp's build through CMAKE_PROJECT_llama.cpp_INCLUDE: leave out its "common" library (command-line tools, chat
# parsers), which the Python package never loads and which takes half of the compile time.
set(LLAMA_BUILD_COMMON OFF)
