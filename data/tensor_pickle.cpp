#include "data/tensor_pickle.h"

#include <map>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/status_macros.h"

namespace data {
namespace {

// A tensor's pickle has about 150 bytes. The bound also bounds the work and how deeply values can nest.
constexpr size_t kMaxPickleBytes = 4096;

enum class Op : uint8_t {
  kMark = '(',
  kStop = '.',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kGlobal = 'c',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kTuple = 't',
  kEmptyDict = '}',
  kEmptyTuple = ')',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kShortBinUnicode = 0x8c,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

enum class Kind { kOther, kMark, kInt, kString, kGlobal, kTuple, kStorage, kTensor };

struct Value;
// Shared, for a pickle may refer to one value many times, and copies of copies would grow without bound.
using ValuePtr = std::shared_ptr<const Value>;

struct Value {
  Kind kind = Kind::kOther;
  int64_t number = 0;
  std::string text{};             // string; global: "module.name"
  std::vector<ValuePtr> items{};  // tuple
  PickledTensor tensor{};         // storage (type and key), tensor
};

absl::Status Damaged() { return absl::DataLossError("is damaged: its pickle cannot be understood"); }
absl::Status NotTensor() {
  return absl::InvalidArgumentError(
      "holds something else than one plain tensor; save features as torch.save(tensor)");
}

class Machine {
 public:
  explicit Machine(std::span<const uint8_t> code) : code_(code) {}

  absl::StatusOr<PickledTensor> Run() {
    while (true) {
      ASSIGN_OR_RETURN(const uint64_t code, Number(1));
      const Op op = static_cast<Op>(code);
      if (op == Op::kStop) break;
      RETURN_IF_ERROR(Step(op));
    }
    if (stack_.size() != 1) return Damaged();
    if (stack_.back()->kind != Kind::kTensor) return NotTensor();
    return stack_.back()->tensor;
  }

 private:
  absl::Status Step(Op op) {
    switch (op) {
      case Op::kProto:
        return Number(1).status();
      case Op::kFrame:
        return Number(8).status();
      case Op::kMark:
        return Push({.kind = Kind::kMark});
      case Op::kNone:
      case Op::kNewTrue:
      case Op::kNewFalse:
      case Op::kEmptyDict:
        return Push({});
      case Op::kBinInt1:
        return PushNumber(1);
      case Op::kBinInt2:
        return PushNumber(2);
      case Op::kBinInt:
        return PushNumber(4);
      case Op::kLong1:
        return PushLong();
      case Op::kBinUnicode:
        return PushString(4);
      case Op::kShortBinUnicode:
        return PushString(1);
      case Op::kGlobal:
        return PushGlobal();
      case Op::kStackGlobal:
        return StackGlobal();
      case Op::kEmptyTuple:
        return PushTuple(0);
      case Op::kTuple1:
        return PushTuple(1);
      case Op::kTuple2:
        return PushTuple(2);
      case Op::kTuple3:
        return PushTuple(3);
      case Op::kTuple:
        return PushMarkedTuple();
      case Op::kBinPut:
        return Put(1);
      case Op::kLongBinPut:
        return Put(4);
      case Op::kMemoize:
        return Memoize(memo_.size());
      case Op::kBinGet:
        return Get(1);
      case Op::kLongBinGet:
        return Get(4);
      case Op::kBinPersId:
        return LoadStorage();
      case Op::kStop:
        break;  // Run() ends there
      case Op::kReduce:
        return Reduce();
    }
    return NotTensor();  // an instruction that a plain tensor does not need
  }

  // Little-endian, of 1 to 8 bytes.
  absl::StatusOr<uint64_t> Number(size_t size) {
    ASSIGN_OR_RETURN(const auto bytes, Bytes(size));
    uint64_t number = 0;
    for (size_t i = 0; i < size; ++i) number |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    return number;
  }

  absl::StatusOr<std::span<const uint8_t>> Bytes(uint64_t size) {
    if (size > code_.size()) return Damaged();
    const auto bytes = code_.first(size);
    code_ = code_.subspan(size);
    return bytes;
  }

  absl::StatusOr<std::string> Line() {
    std::string line;
    while (true) {
      ASSIGN_OR_RETURN(const uint64_t c, Number(1));
      if (c == '\n') return line;
      line += static_cast<char>(c);
    }
  }

  absl::Status Push(Value value) {
    stack_.push_back(std::make_shared<const Value>(std::move(value)));
    return absl::OkStatus();
  }

  absl::StatusOr<ValuePtr> Pop() {
    if (stack_.empty()) return Damaged();
    ValuePtr value = std::move(stack_.back());
    stack_.pop_back();
    return value;
  }

  absl::Status PushNumber(size_t size) {
    ASSIGN_OR_RETURN(const uint64_t number, Number(size));
    return Push({.kind = Kind::kInt,
                 .number = size == 4 ? static_cast<int32_t>(static_cast<uint32_t>(number))
                                     : static_cast<int64_t>(number)});
  }

  // A two's-complement number of as many bytes as it needs.
  absl::Status PushLong() {
    ASSIGN_OR_RETURN(const uint64_t size, Number(1));
    if (size > 8) return Damaged();
    ASSIGN_OR_RETURN(uint64_t number, Number(size));
    const bool negative = size > 0 && (number >> (8 * size - 1)) != 0;
    if (negative && size < 8) number |= ~uint64_t{0} << (8 * size);
    return Push({.kind = Kind::kInt, .number = static_cast<int64_t>(number)});
  }

  absl::Status PushString(size_t length_bytes) {
    ASSIGN_OR_RETURN(const uint64_t length, Number(length_bytes));
    ASSIGN_OR_RETURN(const auto bytes, Bytes(length));
    return Push({.kind = Kind::kString, .text = std::string(bytes.begin(), bytes.end())});
  }

  absl::Status PushGlobal() {
    ASSIGN_OR_RETURN(const std::string module, Line());
    ASSIGN_OR_RETURN(const std::string name, Line());
    return Push({.kind = Kind::kGlobal, .text = absl::StrCat(module, ".", name)});
  }

  absl::Status StackGlobal() {
    ASSIGN_OR_RETURN(const ValuePtr name, Pop());
    ASSIGN_OR_RETURN(const ValuePtr module, Pop());
    if (name->kind != Kind::kString || module->kind != Kind::kString) return Damaged();
    return Push({.kind = Kind::kGlobal, .text = absl::StrCat(module->text, ".", name->text)});
  }

  absl::Status PushTuple(size_t size) {
    if (size > stack_.size()) return Damaged();
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(size);
    Value tuple{.kind = Kind::kTuple, .items = {first, stack_.end()}};
    stack_.erase(first, stack_.end());
    return Push(std::move(tuple));
  }

  absl::Status PushMarkedTuple() {
    size_t size = 0;
    while (size < stack_.size() && stack_[stack_.size() - 1 - size]->kind != Kind::kMark) ++size;
    if (size == stack_.size()) return Damaged();
    RETURN_IF_ERROR(PushTuple(size));
    stack_.erase(stack_.end() - 2);  // the mark
    return absl::OkStatus();
  }

  absl::Status Memoize(uint64_t key) {
    if (stack_.empty()) return Damaged();
    memo_[key] = stack_.back();
    return absl::OkStatus();
  }

  absl::Status Put(size_t key_bytes) {
    ASSIGN_OR_RETURN(const uint64_t key, Number(key_bytes));
    return Memoize(key);
  }

  absl::Status Get(size_t key_bytes) {
    ASSIGN_OR_RETURN(const uint64_t key, Number(key_bytes));
    const auto found = memo_.find(key);
    if (found == memo_.end()) return Damaged();
    stack_.push_back(found->second);
    return absl::OkStatus();
  }

  // A reference to a storage: ("storage", type, key, device, elements).
  absl::Status LoadStorage() {
    ASSIGN_OR_RETURN(const ValuePtr id, Pop());
    if (id->kind != Kind::kTuple || id->items.size() != 5 || id->items[1]->kind != Kind::kGlobal ||
        id->items[2]->kind != Kind::kString) {
      return Damaged();
    }
    Value storage{.kind = Kind::kStorage};
    const std::string& type = id->items[1]->text;  // "torch.FloatStorage"
    storage.tensor.storage_type = type.substr(type.rfind('.') + 1);
    storage.tensor.storage_key = id->items[2]->text;
    return Push(std::move(storage));
  }

  // A call. Only the one that rebuilds a tensor means something to us; the others (the tensor's empty
  // dictionary of hooks) are not called but stand for their result.
  absl::Status Reduce() {
    ASSIGN_OR_RETURN(const ValuePtr arguments, Pop());
    ASSIGN_OR_RETURN(const ValuePtr function, Pop());
    if (arguments->kind != Kind::kTuple || function->kind != Kind::kGlobal) return Damaged();
    if (function->text != "torch._utils._rebuild_tensor_v2") return Push({});
    // (storage, offset, sizes, strides, requires_grad, hooks)
    const std::vector<ValuePtr>& items = arguments->items;
    if (items.size() < 4 || items[0]->kind != Kind::kStorage || items[1]->kind != Kind::kInt)
      return Damaged();
    Value tensor{.kind = Kind::kTensor, .tensor = items[0]->tensor};
    tensor.tensor.offset = items[1]->number;
    RETURN_IF_ERROR(Numbers(*items[2], tensor.tensor.sizes));
    RETURN_IF_ERROR(Numbers(*items[3], tensor.tensor.strides));
    return Push(std::move(tensor));
  }

  static absl::Status Numbers(const Value& tuple, std::vector<int64_t>& numbers) {
    if (tuple.kind != Kind::kTuple) return Damaged();
    for (const ValuePtr& item : tuple.items) {
      if (item->kind != Kind::kInt) return Damaged();
      numbers.push_back(item->number);
    }
    return absl::OkStatus();
  }

  std::span<const uint8_t> code_;  // what is still to be run
  std::vector<ValuePtr> stack_;
  std::map<uint64_t, ValuePtr> memo_;
};

}  // namespace

absl::StatusOr<PickledTensor> ParseTensorPickle(std::span<const uint8_t> pickle) {
  if (pickle.size() > kMaxPickleBytes) return NotTensor();
  return Machine(pickle).Run();
}

}  // namespace data
