// SPDX-License-Identifier: Apache-2.0
#include "host/config_objects.h"

#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <list>
#include <optional>
#include <vector>

#include "kube/object_watch.h"

namespace dormouse::host {
namespace {

namespace json = boost::json;

// Base64 as Go's encoding/json writes []byte (RFC 4648, padded). Unset: malformed.
std::optional<std::string> decode_base64(std::string_view text) {
  static const auto values = [] {
    std::array<signed char, 256> table{};
    table.fill(-1);
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < alphabet.size(); ++i) table[static_cast<unsigned char>(alphabet[i])] = static_cast<signed char>(i);
    return table;
  }();
  if (text.size() % 4 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t at = 0; at < text.size(); at += 4) {
    std::uint32_t group = 0;
    int padding = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const char c = text[at + i];
      if (c == '=' && at + 4 == text.size() && i >= 2) {
        ++padding;
        group <<= 6;
        continue;
      }
      const int value = values[static_cast<unsigned char>(c)];
      if (value < 0 || padding > 0) return std::nullopt;
      group = group << 6 | static_cast<std::uint32_t>(value);
    }
    const std::array<char, 3> out{static_cast<char>(group >> 16), static_cast<char>(group >> 8), static_cast<char>(group)};
    bytes.append(out.data(), static_cast<std::size_t>(3 - padding));
  }
  return bytes;
}

ConfigData read_data(const json::object& object, bool secret) {
  ConfigData data;
  const auto add = [&](std::string_view field, bool base64) {
    const json::value* values = object.if_contains(field);
    if (values == nullptr || !values->is_object()) return;
    for (const auto& [key, value] : values->get_object()) {
      if (!value.is_string()) continue;
      const std::string_view text = value.get_string();
      if (!base64) data.insert_or_assign(key, std::string(text));
      else if (auto bytes = decode_base64(text)) data.insert_or_assign(key, std::move(*bytes));
    }
  };
  add("data", secret);
  if (!secret) add("binaryData", true);
  return data;
}

void wipe(ConfigData& data) {
  for (auto& [key, value] : data) {
    volatile char* bytes = value.data();
    for (std::size_t i = 0; i < value.size(); ++i) bytes[i] = 0;
  }
  data.clear();
}

class Objects final : public ConfigObjects {
 public:
  Objects(boost::asio::io_context& loop, const Clock& clock, Log& log, kube::Upstream& upstream) : loop_(loop), clock_(clock), log_(log), upstream_(upstream) {}

  std::unique_ptr<Follow> follow(Key key, std::function<void()> on_change) override;

 private:
  struct Wish;

  class Object final : public kube::ObjectWatch::Sink, Immovable {
   public:
    Object(Key key, Objects& owner) : key_(std::move(key)), owner_(owner) {
      auto watch = kube::ObjectWatch::create(owner.loop_, owner.clock_, owner.upstream_,
                                             {.collection = fmt::format("/api/v1/namespaces/{}/{}", key_.name_space, key_.secret ? "secrets" : "configmaps"), .name = key_.name}, *this);
      if (watch) watch_ = std::move(*watch);
      else problem_ = watch.error().message;
    }
    ~Object() override { wipe(data_); }

    void on_object(const json::object& object) override {
      ConfigData data = read_data(object, key_.secret);
      const bool same = known_ && present_ && data == data_;
      if (key_.secret) wipe(data_);
      data_ = std::move(data);
      known_ = present_ = true;
      problem_.clear();
      if (!same) tell();
    }
    void on_absent() override {
      const bool same = known_ && !present_;
      wipe(data_);
      known_ = true;
      present_ = false;
      problem_.clear();
      if (!same) tell();
    }
    void on_trouble(const Error& error) override {
      owner_.log_.warning("cannot follow object of a pod", {{"kind", key_.secret ? "Secret" : "ConfigMap"}, {"namespace", key_.name_space}, {"name", key_.name}, {"error", error.message}});
      problem_ = error.message;
      if (!known_) tell();
    }

    // Wishes may come and go while they are told.
    void tell() {
      std::vector<Wish*> told(wishes_.begin(), wishes_.end());
      for (Wish* wish : told) {
        if (std::ranges::find(wishes_, wish) != wishes_.end()) wish->on_change();
      }
    }

    const Key key_;
    Objects& owner_;
    std::list<Wish*> wishes_;
    ConfigData data_;
    bool known_ = false, present_ = false;
    std::string problem_;
    std::unique_ptr<kube::ObjectWatch> watch_;  // Goes first.
  };

  struct Wish final : Follow {
    Wish(Objects& owner, std::shared_ptr<Object> wanted, std::function<void()> tell) : owner(owner), object(std::move(wanted)), on_change(std::move(tell)) { object->wishes_.push_back(this); }
    ~Wish() override {
      object->wishes_.remove(this);
      if (object->wishes_.empty()) owner.objects_.erase(object->key_);
      // It may be telling us right now: its end waits for the loop.
      boost::asio::post(owner.loop_, [object = std::move(object)] {});
    }
    bool known() const override { return object->known_; }
    const ConfigData* data() const override { return object->present_ ? &object->data_ : nullptr; }
    const std::string& problem() const override { return object->problem_; }

    Objects& owner;
    std::shared_ptr<Object> object;
    const std::function<void()> on_change;
  };

  boost::asio::io_context& loop_;
  const Clock& clock_;
  Log& log_;
  kube::Upstream& upstream_;
  std::map<Key, std::shared_ptr<Object>> objects_;
};

std::unique_ptr<ConfigObjects::Follow> Objects::follow(Key key, std::function<void()> on_change) {
  std::shared_ptr<Object>& object = objects_[key];
  if (object == nullptr) object = std::make_shared<Object>(std::move(key), *this);
  return std::make_unique<Wish>(*this, object, std::move(on_change));
}

}  // namespace

std::unique_ptr<ConfigObjects> ConfigObjects::create(boost::asio::io_context& loop, const Clock& clock, Log& log, kube::Upstream& upstream) {
  return std::make_unique<Objects>(loop, clock, log, upstream);
}

}  // namespace dormouse::host
