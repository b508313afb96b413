// A client of export/README.md, always taking the likeliest: ./greedy model.onnx "prompt" 200
#include "ort.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

static const OrtApi* api;

static void check(OrtStatus* status) {
  if (status) throw std::runtime_error(api->GetErrorMessage(status));
}

// The code point that starts at text[at], which moves behind it. The text is UTF-8.
static char32_t next_character(const std::string& text, size_t& at) {
  unsigned char first = text.at(at++);
  int more = first < 0x80 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
  char32_t point = more ? first & (0x3F >> more) : first;
  for (; more; --more) point = point << 6 | (text.at(at++) & 0x3F);
  return point;
}

static std::string utf8(char32_t point) {
  if (point < 0x80) return {char(point)};
  int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  std::string bytes(1, char((0x780 >> more) | point >> (6 * more)));
  while (more--) bytes += char(0x80 | ((point >> (6 * more)) & 0x3F));
  return bytes;
}

// The value of "characters" in the vocabulary's JSON. A quote inside of a string is written \", so that the first
// "characters" between plain quotes is the key.
static std::u32string characters_of(const std::string& json) {
  const std::string key = "\"characters\"";
  size_t at = json.find(key);
  if (at == std::string::npos) throw std::runtime_error("the vocabulary has no characters");
  at = json.find('"', at + key.size()) + 1;
  std::u32string characters;
  while (json.at(at) != '"') {
    char32_t point = next_character(json, at);
    if (point == '\\') {
      char escape = json.at(at++);
      const std::string names = "bfnrt", meanings = "\b\f\n\r\t";
      size_t named = names.find(escape);
      point = named == std::string::npos ? char32_t(escape) : char32_t(meanings[named]);
      if (escape == 'u') {
        point = char32_t(std::stoul(json.substr(at, 4), nullptr, 16));
        at += 4;
        if (point >> 10 == 0xD800 >> 10) {  // the first half of a pair: its other half follows as \uXXXX
          point = 0x10000 + ((point & 0x3FF) << 10) + (std::stoul(json.substr(at + 2, 4), nullptr, 16) & 0x3FF);
          at += 6;
        }
      }
    }
    characters += point;
  }
  return characters;
}

static OrtValue* tensor(void* data, size_t bytes, const std::vector<int64_t>& shape, int type) {
  OrtMemoryInfo* memory;
  OrtValue* value;
  check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  check(api->CreateTensorWithDataAsOrtValue(memory, data, bytes, shape.data(), shape.size(), type, &value));
  return value;
}

static void run(const char* path, const std::string& prompt, int length) {
  OrtEnv* environment;
  OrtSessionOptions* options;
  OrtSession* session;
  OrtAllocator* allocator;
  OrtModelMetadata* metadata;
  check(api->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "greedy", &environment));
  check(api->CreateSessionOptions(&options));
  check(api->SetIntraOpNumThreads(options, 1));  // a step is too small to share
  check(api->CreateSession(environment, path, options, &session));
  check(api->GetAllocatorWithDefaultOptions(&allocator));
  check(api->SessionGetModelMetadata(session, &metadata));
  auto entry = [&](const char* key) {
    char* text;
    check(api->ModelMetadataLookupCustomMetadataMap(metadata, allocator, key, &text));
    return std::string(text ? text : "");
  };
  if (entry("charrnn.format_version") != "1") throw std::runtime_error("no charrnn model of format version 1");
  const std::u32string characters = characters_of(entry("charrnn.vocabulary"));

  // Inputs and outputs in one order: token with logits, every other input NAME, a state, with next_NAME.
  int64_t token = 0;
  std::vector<float> logits(characters.size());
  std::vector<std::string> inputs{"token"}, outputs{"logits"};
  std::vector<OrtValue*> read{tensor(&token, sizeof token, {1}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64)};
  std::vector<OrtValue*> written{tensor(logits.data(), logits.size() * sizeof(float), {1, int64_t(logits.size())},
                                        ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)};
  size_t count;
  check(api->SessionGetInputCount(session, &count));
  for (size_t i = 0; i < count; ++i) {
    char* name;
    OrtTypeInfo* type;
    const OrtTensorTypeAndShapeInfo* info;
    check(api->SessionGetInputName(session, i, allocator, &name));
    if (std::string(name) == "token") continue;
    std::vector<int64_t> shape(3);  // [L, batch, H]
    check(api->SessionGetInputTypeInfo(session, i, &type));
    check(api->CastTypeInfoToTensorInfo(type, &info));
    check(api->GetDimensions(info, shape.data(), shape.size()));
    shape[1] = 1;
    size_t bytes = size_t(shape[0] * shape[2]) * sizeof(float);
    inputs.push_back(name);
    outputs.push_back("next_" + inputs.back());
    for (auto* values : {&read, &written})  // two buffers of zeros, which change places after every step
      values->push_back(tensor(std::calloc(bytes, 1), bytes, shape, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
  }
  std::vector<const char*> input_names, output_names;
  for (const auto& name : inputs) input_names.push_back(name.c_str());
  for (const auto& name : outputs) output_names.push_back(name.c_str());

  auto step = [&](size_t id) {
    token = int64_t(id);
    check(api->Run(session, nullptr, input_names.data(), read.data(), count, output_names.data(), count,
                   written.data()));
    for (size_t i = 1; i < count; ++i) std::swap(read[i], written[i]);
  };
  for (size_t at = 0; at < prompt.size();) {
    size_t id = characters.find(next_character(prompt, at));
    if (id == std::u32string::npos) throw std::runtime_error("the model does not know a character of the prompt");
    step(id);
  }
  std::string text = prompt;
  for (int i = 0; i < length; ++i) {
    size_t best = size_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
    text += utf8(characters[best]);
    step(best);
  }
  std::cout << text << std::endl;
}

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: greedy model.onnx prompt length");
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  run(argv[1], argv[2], std::stoi(argv[3]));
} catch (const std::exception& error) {
  std::cerr << "greedy: " << error.what() << std::endl;
  return 1;
}
