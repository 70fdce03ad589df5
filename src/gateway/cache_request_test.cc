// SPDX-License-Identifier: Apache-2.0
#include "gateway/cache_request.h"

#include <gtest/gtest.h>

namespace dormouse::gateway {
namespace {

using watchcache::Encoding;
using watchcache::Verb;

std::string negotiated(std::string_view accept, Verb verb = Verb::List, bool built_in = true) {
  const auto accepted = negotiate({{"user-agent", "x"}, {"accept", std::string(accept)}}, verb, built_in);
  if (!accepted) return "forward";
  return std::string(accepted->encoding == Encoding::Json ? "json" : "protobuf") + (accepted->metadata_only ? " metadata" : "");
}

ReadRequest read(std::string target, std::string accept = "application/json", std::string method = "GET") {
  return read_request({.method = std::move(method), .target = std::move(target), .headers = {{"accept", std::move(accept)}}});
}
std::string reason(std::string target, std::string accept = "application/json", std::string method = "GET") {
  const ReadRequest request = read(std::move(target), std::move(accept), std::move(method));
  return request.cached ? "cached" : std::string(to_string(request.reason));
}

constexpr const char* kPods = "/api/v1/namespaces/ns/pods";

TEST(Negotiate, TheFirstThatFitsWins) {
  EXPECT_EQ(negotiated("application/json"), "json");
  EXPECT_EQ(negotiated("application/vnd.kubernetes.protobuf,application/json"), "protobuf");
  EXPECT_EQ(negotiated("application/json, application/vnd.kubernetes.protobuf"), "json");
  EXPECT_EQ(negotiated("Application/JSON"), "json");
  EXPECT_EQ(negotiated("*/*"), "json");
  EXPECT_EQ(negotiated("application/*"), "json");
  EXPECT_EQ(negotiate({}, Verb::List, true)->encoding, Encoding::Json);
}

TEST(Negotiate, CustomResourcesHaveNoProtobuf) {
  EXPECT_EQ(negotiated("application/vnd.kubernetes.protobuf, application/json", Verb::List, false), "json");
  EXPECT_EQ(negotiated("application/vnd.kubernetes.protobuf", Verb::List, false), "forward");
}

TEST(Negotiate, MetadataIsOfTheVerbsOwnKind) {
  EXPECT_EQ(negotiated("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), "json metadata");
  EXPECT_EQ(negotiated("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json", Verb::Watch), "protobuf metadata");
  EXPECT_EQ(negotiated("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), "forward");
  EXPECT_EQ(negotiated("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Verb::Get), "forward");
  EXPECT_EQ(negotiated("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1beta1"), "forward");
  EXPECT_EQ(negotiated("application/json;as=Table;g=meta.k8s.io;v=v1,application/json"), "forward");
}

TEST(Negotiate, WhatIsNotCertainIsForwarded) {
  for (const char* accept : {"application/yaml", "text/plain", "application/cbor", "application/json;q=0.5,*/*", "application/json;pretty=1", "application/json;as=", "application/json;g=", "application/json;v=v1",
                             "application/json;stream=watch", "application/json;a=\"b,c\"", "*/*,application/json", "application/*;as=Table", "application/json;as", ";", ",", ""}) {
    EXPECT_EQ(negotiated(accept), std::string_view(accept).find_first_not_of(" ,") == std::string_view::npos ? "json" : "forward") << accept;
  }
  EXPECT_EQ(negotiated("application/json;stream=watch", Verb::Watch), "json");
  EXPECT_EQ(negotiated("application/json;stream=watch;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Verb::Watch), "forward");
}

TEST(ReadRequest, NamesTheCacheAndTheRight) {
  const auto request = read("/apis/apps/v1/namespaces/ns/deployments?watch=true&labelSelector=a%3Db&resourceVersion=5").cached;
  ASSERT_TRUE(request);
  EXPECT_EQ(request->key.path(), "/apis/apps/v1/namespaces/ns/deployments");
  EXPECT_EQ(request->key.label_selector, "a=b");
  EXPECT_EQ(request->resource, "deployments.apps");
  EXPECT_EQ(request->rights.verb, "watch");
  EXPECT_EQ(request->rights.label_selector, "a=b");
  EXPECT_EQ(request->rights.name, "");
  EXPECT_EQ(request->query.revision, 5U);
}

TEST(ReadRequest, OneNamedObjectNeedsTheRightToThatObject) {
  const auto get = read(std::string(kPods) + "/p?resourceVersion=0").cached;
  ASSERT_TRUE(get);
  EXPECT_EQ(get->name, "p");
  EXPECT_EQ(get->rights.verb, "get");
  EXPECT_EQ(get->rights.name, "p");
  const auto selected = read(std::string(kPods) + "?watch=true&fieldSelector=metadata.name%3Dp").cached;
  ASSERT_TRUE(selected);
  EXPECT_EQ(selected->rights.name, "p");
  EXPECT_EQ(selected->name, "");
}

TEST(ReadRequest, WhatCannotBeHeldIsForwardedWithItsReason) {
  const std::string pods = kPods;
  EXPECT_EQ(reason(pods), "cached");
  EXPECT_EQ(reason(pods, "application/json", "POST"), "write");
  EXPECT_EQ(reason(pods + "/p/status"), "not_a_resource");
  EXPECT_EQ(reason("/version"), "not_a_resource");
  EXPECT_EQ(reason("/openapi/v3"), "not_a_resource");
  EXPECT_EQ(reason("/apis/apps/v1"), "not_a_resource");
  EXPECT_EQ(reason("/api/v1/watch/pods"), "path");
  EXPECT_EQ(reason("/api/v1/namespaces/ns"), "path");
  EXPECT_EQ(reason("/api/v1/namespaces/ns/pods/"), "path");
  EXPECT_EQ(reason("/api//v1/namespaces/ns/pods"), "not_a_resource");
  EXPECT_EQ(reason("/api/v1/namespaces/n%73/pods"), "path");
  EXPECT_EQ(reason(pods + "?fieldSelector=spec.nodeName%3Dn"), "query");
  EXPECT_EQ(reason(pods + "?limit=x"), "query");
  EXPECT_EQ(reason(pods + "?pretty=true"), "query");
  EXPECT_EQ(reason(pods, "application/yaml"), "accept");
}

TEST(WrittenRevision, IsReadFromWhatTheApiServerAnswers) {
  EXPECT_EQ(written_revision("{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"77\"}}\n"), 77U);
  EXPECT_EQ(written_revision(R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"})"), std::nullopt);
  EXPECT_EQ(written_revision(""), std::nullopt);
  EXPECT_EQ(written_revision("{"), std::nullopt);
  EXPECT_EQ(written_revision(std::string_view("k8s\0", 4)), std::nullopt);
}

}  // namespace
}  // namespace dormouse::gateway
