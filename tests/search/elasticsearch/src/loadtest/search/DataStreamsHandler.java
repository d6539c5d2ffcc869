package loadtest.search;

import java.io.IOException;
import java.util.List;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.metadata.DataStream;
import org.elasticsearch.cluster.metadata.ProjectId;
import org.elasticsearch.common.regex.Regex;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentBuilder;

/** {@code GET /_data_stream[/{name}]}: name, backing indices and generation, read from the cluster state. */
final class DataStreamsHandler extends BaseRestHandler {
  @Override
  public String getName() {
    return "loadtest_data_streams";
  }

  @Override
  public List<Route> routes() {
    return List.of(
        new Route(RestRequest.Method.GET, "/_data_stream"),
        new Route(RestRequest.Method.GET, "/_data_stream/{name}"));
  }

  @Override
  protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
    var name = request.param("name", "*");
    return channel -> {
      var state =
          client.admin().cluster().prepareState(TimeValue.timeValueSeconds(10)).setMetadata(true).get().getState();
      var found =
          state.metadata().getProject(ProjectId.DEFAULT).dataStreams().values().stream()
              .filter(stream -> Regex.simpleMatch(name.split(","), stream.getName()))
              .toList();
      var body = channel.newBuilder().startObject().startArray("data_streams");
      for (var stream : found) {
        write(body, stream);
      }
      body.endArray().endObject();
      var absent = found.isEmpty() && !name.contains("*");
      channel.sendResponse(new RestResponse(absent ? RestStatus.NOT_FOUND : RestStatus.OK, body));
    };
  }

  private static void write(XContentBuilder body, DataStream stream) throws IOException {
    body.startObject().field("name", stream.getName());
    body.startObject("timestamp_field").field("name", "@timestamp").endObject();
    body.startArray("indices");
    for (var index : stream.getIndices()) {
      body.startObject().field("index_name", index.getName()).field("index_uuid", index.getUUID()).endObject();
    }
    body.endArray().field("generation", stream.getGeneration()).endObject();
  }
}
